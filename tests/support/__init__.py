"""What several tests share: records, fakes, servers, models."""
