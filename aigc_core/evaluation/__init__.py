"""How good weights are: metrics measured on data that they were not fitted on, with the record of how."""
