"""What earlier runs left.

files.py        JSON files, read so that a broken one is refused by its name
commit.py       which code a stored result is of
checkpoints.py  the weights that ship with the book, and how they are trained
"""
