from hypothesis import HealthCheck, settings

settings.register_profile("metrics", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("metrics")
