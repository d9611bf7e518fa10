"""Tags a Parquet file of sentences (a column `words`, list<string>) on Ray: tag_ray.py MODEL FILE FOLDER [WORKERS]."""

import sys

import ray

import elman.ray

model, file, folder, *workers = sys.argv[1:]
dataset = ray.data.read_parquet(file)
tagged = elman.ray.tag(dataset, model, workers=int(workers[0]) if workers else None, batch_size=4096)
tagged.write_parquet(folder)
