"""The file systems that come with measurefs."""
