"""Reading of Hugging Face ``config.json`` files into architectures."""
