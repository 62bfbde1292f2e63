"""A grammar fuzzer for DESIGN 4.1: two databases that are equal once masked give a principal who
owes the masks the same bytes."""
