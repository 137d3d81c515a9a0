"""Where frames come from: files, webcams, and cameras on the network."""
