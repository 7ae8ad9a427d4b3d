"""What all drills share: the platform as real processes in a scratch directory, its oracle, its prober, its verdict."""
