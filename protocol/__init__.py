"""What is said on the wire: frames, messages, codecs and codes. No input or output, no clock, no chance."""
