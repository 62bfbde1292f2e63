"""Sans-IO codecs, one package per protocol with the same file names in each; nothing here knows
policy or sockets.
"""
