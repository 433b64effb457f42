"""Arrow schemas of every table that Maskpress reads into or writes; imports pyarrow only."""
