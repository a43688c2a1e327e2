"""The page at `/`, in a headless Chromium."""
