"""One file format a file.

    SUFFIXES                  what it is known by
    read(file, name, field)   → documents, for language modelling
    examples(file, fields)    → examples; a line that is none is an error in its place, and what follows is read

Where a suffix says too little, ``fits(first, fields)`` says whether the first line is of the format. ``covers(place,
fields)`` is for a format of several files side by side, of which ``examples`` then gets the place.
"""
