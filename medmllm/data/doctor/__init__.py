"""What the data set's doctor looks at: images, copies, leaks between splits, lengths."""
