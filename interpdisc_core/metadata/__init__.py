"""What is known about an image besides its pixels: product names, records and labels in one typed view.

Modules: `image_metadata` (the typed view), `product_ids` (file names of the missions), `observations` (images of one
exposure), `expressions` (the filter language of `--where`), `field_index`, `untrusted` and `pds_pointers` (reading hostile input).

Imports `settings`, `digest` and `errors` only. Owns nothing on disk.
"""
