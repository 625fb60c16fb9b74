"""Prefect tasks: one expression each, around a function of the core.

They pass addresses and small results, never arrays. They may import the core only. There are no helpers here: a
decorated task travels to a Dask worker by value, what is defined next to it does not, and a worker may have nothing but
the core installed. Prefect caches nothing: the archive says what is done.
"""
