"""Tags a Parquet file of sentences (a column `words`, array<string>) on Spark: tag_spark.py MODEL FILE FOLDER."""

import sys

from pyspark.sql import SparkSession

import elman.spark

model, file, folder = sys.argv[1:]
spark = SparkSession.builder.getOrCreate()
frame = spark.read.parquet(file)
tagged = elman.spark.tag(frame, model)
tagged.write.parquet(folder)
