"""hybrid-batch: classify folders of images with a neural network cut in two, and evaluate the log with MapReduce."""
