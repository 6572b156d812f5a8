"""Import paths that scripts written for TimeEval 1.5 know; the code lives one level up."""
