"""The Python core: agreement without IO, written to be read.

Bytes in, wire, verify, dag, decide, order, messages out.
"""
