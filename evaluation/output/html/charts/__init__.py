"""Charts as inline SVG, and the confusion matrix as a table; their text enters through `markup.element` only."""
