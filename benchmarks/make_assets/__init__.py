"""How the files under `etl/assets` are made: one program each, run by hand, never by a job."""
