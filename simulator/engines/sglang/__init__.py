"""SGLang: its settings, scheduler, limits, memory rules and launch flags."""
