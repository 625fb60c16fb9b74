"""The exact search of DEMUD: the next pick without reading most rows.

Quantized copies of the rows (`quantized_rows`, `device`) lie in shards (`shard`, `shard_pool`, `remote_shard`,
`remote_pool`), which bound every row's score under the present model (`bound_form`). `search` asks the shards and decides among the few candidates. The model
is updated by one item at a time (`basis`, `low_rank_model`, `svd_update`); that of all rows comes from their second
moments (`moments`, `lanczos`).
"""
