"""Small kernels timed on the GPU at hand, for chips that no public table covers.

``python -m calibration.microbench --out rows.csv`` runs on any CUDA or ROCm GPU with PyTorch;
`calibration.importers.microbench` reads the rows, `calibration.kernels.microbench_report` sets them
beside the kernel table.
"""
