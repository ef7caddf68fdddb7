"""Safety: danger in what was said, hooks in what is answered, and a word after hours of talk.

No clinical tool. What it finds and what it misses is measured by `echat eval safety`; the README
beside this file has the figures. The detector and the caring replies are `echat_sdk.safety`.
"""
