"""What lives in Redis or Valkey besides the job queue: token buckets and wake-ups. All of it may vanish."""
