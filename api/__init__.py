"""The service: HTTP, web form, and later store and integrations. All grading is in `grader`."""
