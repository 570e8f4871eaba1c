"""Any size and length in batches: to which size and length a clip is brought, and which clips make a batch."""

from .batches import Batch, batch_size, batches
from .sizes import Bucket, Buckets, cropped_share, enlargement

__all__ = ["Batch", "Bucket", "Buckets", "batch_size", "batches", "cropped_share", "enlargement"]
