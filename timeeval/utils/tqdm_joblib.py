"""Progress bars for joblib."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import joblib


@contextmanager
def tqdm_joblib(tqdm_object: Any) -> Iterator[Any]:  # noqa: ANN401 - any object with update() and close()
    """Let a progress bar follow joblib's batches while the context is open.

    Parameters
    ----------
    tqdm_object
        The bar; it is closed at the end.
    """
    original = joblib.parallel.BatchCompletionCallBack

    class TqdmBatchCompletionCallback(original):  # type: ignore[misc,valid-type]
        """Moves the bar on when a batch is done."""

        def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            tqdm_object.update(n=self.batch_size)
            return super().__call__(*args, **kwargs)

    joblib.parallel.BatchCompletionCallBack = TqdmBatchCompletionCallback
    try:
        yield tqdm_object
    finally:
        joblib.parallel.BatchCompletionCallBack = original
        tqdm_object.close()
