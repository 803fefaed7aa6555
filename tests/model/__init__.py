"""The executable specification that the core is measured against, and a generator of DAGs for it."""
