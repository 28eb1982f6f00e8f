"""The commands of `chatd`, one file each."""
