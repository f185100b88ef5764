"""The adaptive search: measured windows steer which variant and load is measured next. Pure but for `measure`."""
