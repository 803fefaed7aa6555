"""Tools to test what is built on syncpoint, and syncpoint itself."""

from .dag import order_dag

__all__ = ["order_dag"]
