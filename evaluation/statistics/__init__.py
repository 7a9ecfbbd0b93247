"""From counts to the measures of a report, with confidence intervals and significance tests."""
