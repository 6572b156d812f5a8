"""Where the files of an experiment lie."""

from pathlib import Path


def generate_experiment_path(  # noqa: PLR0917 - the signature scripts know
    base_results_dir: Path,
    algorithm_name: str,
    hyper_params_id: str,
    collection_name: str,
    dataset_name: str,
    repetition_number: int,
) -> Path:
    """Return the folder of an experiment below the results folder of its run.

    Parameters
    ----------
    base_results_dir
        Results folder.
    algorithm_name, hyper_params_id, collection_name, dataset_name, repetition_number
        Names of the folders on the way, in this order.
    """
    return base_results_dir.joinpath(
        algorithm_name, hyper_params_id, collection_name, dataset_name, str(repetition_number)
    )
