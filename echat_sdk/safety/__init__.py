"""What is heard when a life may be at stake, and the fixed words that answer it.

No clinical tool: it goes by words alone, misses some dangers and sees some where there are none.
"""
