"""What a process of the appliance asks of the machine it runs on, whichever process it is."""
