"""Features of recordings from networks that others trained, restated in torch: musicnn's VGG."""
