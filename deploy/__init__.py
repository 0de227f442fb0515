"""Deployment: targets, builds, emulators, profiles, budgets and the report."""
