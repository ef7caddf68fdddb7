"""Plugins that come with the SDK, through the same door as everybody's: one file, one lesson."""
