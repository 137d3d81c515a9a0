"""From a camera to rows: source, detect, track, classify, smooth, store."""
