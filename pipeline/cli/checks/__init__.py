"""What `undercam doctor` tries, part by part."""
