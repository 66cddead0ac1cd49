"""Read images, X-rays, DICOM files, lists and masks of parts; write files atomically."""
