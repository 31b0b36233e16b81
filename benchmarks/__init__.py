"""What measurefs costs, and what others do: each module is a program."""
