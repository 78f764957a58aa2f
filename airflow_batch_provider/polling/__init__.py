"""One poller per connection and event loop, for everybody who waits there for batches."""

from airflow_batch_provider.polling.registry import awaited_here, join, leave
from airflow_batch_provider.polling.subscription import Miss, News, Recovered, Subscription

__all__ = ["Miss", "News", "Recovered", "Subscription", "awaited_here", "join", "leave"]
