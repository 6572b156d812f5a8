from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def numenta_htm(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """NumentaHTM: unsupervised, univariate; image ``ghcr.io/timeeval/numenta_htm:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``activationThreshold`` (int, 12): Activation threshold.
    - ``alpha`` (float, 0.5): Alpha.
    - ``autoDetectWaitRecords`` (int, 50): Auto detect wait records.
    - ``cellsPerColumn`` (int, 32): Cells per column.
    - ``columnCount`` (int, 2048): Column count.
    - ``encoding_input_width`` (int, 21): Encoding input width.
    - ``encoding_output_width`` (int, 50): Encoding output width.
    - ``globalDecay`` (float, 0.0): Global decay.
    - ``initialPerm`` (float, 0.21): Initial permanence.
    - ``inputWidth`` (int, 2048): Input width.
    - ``maxAge`` (int, 0): Maximum age.
    - ``maxSegmentsPerCell`` (int, 128): Maximum segments per cell.
    - ``maxSynapsesPerSegment`` (int, 32): Maximum synapses per segment.
    - ``minThreshold`` (int, 9): Minimum threshold.
    - ``newSynapseCount`` (int, 20): New synapse count.
    - ``numActiveColumnsPerInhArea`` (int, 40): Number of active columns per inh area.
    - ``pamLength`` (int, 1): Pam length.
    - ``permanenceDec`` (float, 0.1): Permanence decrement.
    - ``permanenceInc`` (float, 0.1): Permanence increment.
    - ``potentialPct`` (float, 0.5): Potential percentage.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``synPermActiveInc`` (float, 0.1): Synapse permanence active increment.
    - ``synPermConnected`` (float, 0.1): Synapse permanence connected.
    - ``synPermInactiveDec`` (float, 0.005): Synapse permanence inactive decrement.
    """
