"""What a pod says about its model in command, arguments and environment, without any annotation.

Only documented flags of known serving runtimes count, each runtime one small table. What is not
literal (a Secret, a ConfigMap, a placeholder, the output of a command) is unknown and says so: an
estimate of another model is worse than none.
"""

from energaizer_operator.runtimes.models import last_parts
from energaizer_operator.runtimes.pods import of_workload, read
from energaizer_operator.runtimes.records import Reading

__all__ = ["Reading", "last_parts", "of_workload", "read"]
