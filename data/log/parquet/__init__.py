"""The limits of the Parquet files of a log, and the page headers that they are checked by."""
