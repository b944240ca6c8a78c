"""One file format a file: ``SUFFIXES`` it is known by, and ``read(file, name, field)`` → documents."""
