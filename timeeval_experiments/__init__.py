"""What TimeEval 1.5's scripts know under this name: baselines, the configurator, the reader of algorithm manifests."""
