"""Run directories: JSONL artifacts with their manifests, and the lifecycle that all stages share."""
