"""Files and images: video writing, annotation, the sample clip, a display simulated on frames."""
