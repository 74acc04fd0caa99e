"""What is served, and the one pipeline that reads and writes it. `rest` is the pipeline, `kinds` what differs."""
